<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.16.0" styleCategories="Symbology">
  <pipe>
    <rasterrenderer type="singlebandpseudocolor" band="1" opacity="1" alphaBand="-1" classificationMin="0" classificationMax="1" nodataColor="">
      <rastershader>
        <colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0" minimumValue="0" maximumValue="1">
          <item value="0" label="0" color="#fde725" alpha="0"/>
          <item value="0.1" label="0.1" color="#fde725" alpha="0"/>
          <item value="0.3" label="0.3" color="#fde725" alpha="110"/>
          <item value="0.5" label="0.5" color="#f98e09" alpha="200"/>
          <item value="0.75" label="0.75" color="#e0245e" alpha="235"/>
          <item value="1" label="1" color="#8b0a50" alpha="255"/>
        </colorrampshader>
      </rastershader>
    </rasterrenderer>
  </pipe>
  <blendMode>0</blendMode>
</qgis>
